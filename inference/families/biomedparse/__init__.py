"""BiomedParse-V: slices of a volume and sentences to masks."""
