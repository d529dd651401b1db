"""From log-probabilities to words: greedy, beam search, weight tuning."""
