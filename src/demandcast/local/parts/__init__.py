"""The parts of the local methods: histories, recursions, decompositions, filters and distributions."""
