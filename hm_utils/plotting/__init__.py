"""The notebooks' figures, in one style."""
