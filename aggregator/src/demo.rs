//! The demo: the whole real system on one machine.
