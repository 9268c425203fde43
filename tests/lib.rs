//! Whole-program tests: each `[[test]]` of this package runs the built programs in namespaces.
