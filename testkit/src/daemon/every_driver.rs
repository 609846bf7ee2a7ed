//! A test for each way to get at packets.

/// Runs each of these tests, functions of the file that names them, on each driver and number of queues.
#[macro_export]
macro_rules! on_every_driver {
    ($($test:ident),+) => {
        $crate::on_every_driver!(@ af_xdp_native, $crate::Driver::XdpNative, 1, $($test),+);
        $crate::on_every_driver!(@ af_xdp_native_two_queues, $crate::Driver::XdpNative, 2, $($test),+);
        $crate::on_every_driver!(@ af_xdp_generic, $crate::Driver::XdpGeneric, 1, $($test),+);
        $crate::on_every_driver!(@ af_xdp_generic_two_queues, $crate::Driver::XdpGeneric, 2, $($test),+);
        $crate::on_every_driver!(@ af_packet, $crate::Driver::Packet, 1, $($test),+);
        $crate::on_every_driver!(@ af_packet_two_queues, $crate::Driver::Packet, 2, $($test),+);
    };
    (@ $driver:ident, $value:expr, $queues:expr, $($test:ident),+) => {
        mod $driver {
            use super::*;
            $(
                #[test]
                fn $test() {
                    if !$crate::skipped() {
                        super::$test($value, $queues);
                    }
                }
            )+
        }
    };
}
