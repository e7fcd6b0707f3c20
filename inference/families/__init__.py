"""What is true of one kind of network and not of all: one file a family, behind one contract."""
