//! Booted kernels beside this machine's own. Needs root, and what `make test` installs and fetches.

mod stock_kernel;
