"""What the methods are built from: recursions, decompositions, filters and distributions."""
