"""From sentences to targets and modalities: the parser, the vocabulary, the search for the nearest term."""
