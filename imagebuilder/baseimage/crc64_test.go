package baseimage

import (
	"encoding/binary"
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

func TestCRC64_isTheStandardLibrarys(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(4, 4))
	for range 50 {
		data := newImage(random.Uint64(), 1+random.IntN(1<<20))
		var sum crc64Sum
		for rest := data; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			if _, err := sum.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if got, want := binary.LittleEndian.Uint64(sum.Sum(nil)), crc64.Checksum(data, crc64Table); got != want {
			t.Fatalf("%d bytes: %x, want %x", len(data), got, want)
		}
	}
}
