//! Tests of the whole store, against a naive model and on a disk that fails.

mod world;

mod crash;

mod damage;

mod full_disk;

mod limits;

mod model;

mod partial;

mod reading;

mod retention;
