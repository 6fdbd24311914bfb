"""The published model: its files, publishing it, and recommending with it."""
