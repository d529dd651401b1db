"""Error rates: edit distance over whole corpora, alignments, confusions and confidence intervals."""
