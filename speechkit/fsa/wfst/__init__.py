"""Decoding graphs: lexicon, grammar, their compilation through OpenFst, and the arrays that decoders search."""
