"""The audit: an encoder against labelled data, and two encoders against each other."""
