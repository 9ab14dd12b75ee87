"""The plain model on one dialogue, equation by equation, and a dialogue to hear and see."""
