"""Understanding of what shoppers type: pure functions over a catalogue, without HTTP and without state."""
