//! wg-noise
