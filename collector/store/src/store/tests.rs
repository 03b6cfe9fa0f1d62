//! Tests of the whole store, against a naive model and on a disk that fails.

mod world;

mod blocks;

mod crash;

mod damage;

mod deleting;

mod deletion_faults;

mod feeding;

mod formats;

mod full_disk;

mod limits;

mod model;

mod partial;

mod reading;

mod retention;

mod verifying;
