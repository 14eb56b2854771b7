// Package bootfiles edits and writes the small text files on the FAT partition
// that the Raspberry Pi's firmware and the vendor's first-boot scripts read:
// config.txt, cmdline.txt, wpa_supplicant.conf and userconf.txt.
//
// The two editors are lossless where it matters: a line of config.txt and a word
// of cmdline.txt that an edit is not about comes out as it went in, and applying
// an edit to its own result changes nothing. Everything here is a function of
// bytes. Where the files lie, which of them a release reads and what the edits
// are is decided by package plan; the text of the first-boot hook too.
package bootfiles
