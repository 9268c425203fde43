//! wg-tunnel
