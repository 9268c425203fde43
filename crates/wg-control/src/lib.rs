//! One device API over the WireGuard kernel module and userspace daemons.
//!
//! [`interfaces`], [`get`] and [`set`] choose the backend by what the interface is. A configuration
//! file becomes a change by [`DeviceUpdate::adding`], [`DeviceUpdate::replacing`] and
//! [`DeviceUpdate::differing_from`]; [`resolve`] turns its endpoints into addresses. [`uapi`] is the
//! text protocol of userspace daemons, for both of its ends.

mod device;
mod error;
mod interface;
pub mod kernel;
mod resolve;
mod scope;
mod secret_writer;
mod sync;
pub mod uapi;
mod update;
mod userspace;

pub use device::{Device, DeviceUpdate, Peer, PeerUpdate};
pub use error::Error;
pub use interface::{MAX_NAME, get, interfaces, set};
pub use resolve::{ResolveError, Retries, RetriesError, resolve, service_port};
pub use scope::scope_name;
pub use secret_writer::SecretWriter;
pub use userspace::is_socket_stale;
