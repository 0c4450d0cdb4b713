"""One phase of training, resumable to the bit."""
