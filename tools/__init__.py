"""What the Makefile and the Dockerfile run beside pip."""
