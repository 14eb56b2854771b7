package fat_test

import "testing"

// BenchmarkReplace25MB replaces a file of the size of an agent for two
// architectures, on the boot partition of a trixie image, where clusters are
// smallest.
func BenchmarkReplace25MB(b *testing.B) {
	f := open(b, newVolumeFile(b, forms[len(forms)-1]))
	contents := [][]byte{noise("old", 25_000_000), noise("new", 25_000_000)}
	f.write("firstboot", contents[0])
	b.SetBytes(25_000_000)
	i := 0
	for b.Loop() {
		i++
		f.write("firstboot", contents[i%2])
	}
	b.StopTimer()
	f.fsck()
	f.wantContent("firstboot", contents[i%2])
}
