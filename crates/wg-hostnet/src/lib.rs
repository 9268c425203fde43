//! wg-hostnet
