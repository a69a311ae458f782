package contract

import "encoding/binary"

// littleEndian says whether this machine, whose kernels are traced, is.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
