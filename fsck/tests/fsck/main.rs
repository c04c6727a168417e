//! The program itself on stores made by the real writer, whole and with damage put in.

mod check;
mod dump;
mod rig;
