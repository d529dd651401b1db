"""Language models: n-grams (estimation, ARPA files, perplexity; home of KenLM) and Transformers."""
