"""Training of the models: what one needs to learn, and the one loop that they all go through."""
