"""N-gram language models: estimation, ARPA files, perplexity; home of KenLM."""
