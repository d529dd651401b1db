"""Hidden Markov models and forced alignment: where in the audio each word, phone and state is."""
