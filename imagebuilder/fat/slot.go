package fat

import (
	"encoding/binary"
	"time"
)

// slot is one of the 32-byte records that a directory is an array of. It is a
// short entry (a file, a directory or the volume's label), a part of the long
// name of the short entry that follows, or free.
type slot []byte

const slotSize = 32

// Attributes of a short entry.
const (
	attrLabel     = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLongName  = 0x0f // all of read-only, hidden, system and label
	attrMask      = 0x3f
)

// What the first byte of a slot can mean beside a letter.
const (
	slotEnd     = 0x00 // free, and so are all behind it
	slotDeleted = 0xe5
	slotKanji   = 0x05 // stands for the letter 0xe5
)

// Windows NT's flags for a short name that is shown in lower case.
const (
	lowerStem      = 0x08
	lowerExtension = 0x10
)

func (s slot) free() bool     { return s[0] == slotEnd || s[0] == slotDeleted }
func (s slot) longName() bool { return s[11]&attrMask == attrLongName }
func (s slot) label() bool    { return s[11]&attrLabel != 0 && !s.longName() }

func (s slot) name() shortName { return shortName(s[:11]) }

func (s slot) cluster() uint32 {
	return uint32(binary.LittleEndian.Uint16(s[20:]))<<16 | uint32(binary.LittleEndian.Uint16(s[26:]))
}

func (s slot) setCluster(n uint32) {
	binary.LittleEndian.PutUint16(s[20:], uint16(n>>16))
	binary.LittleEndian.PutUint16(s[26:], uint16(n))
}

func (s slot) size() int64 { return int64(binary.LittleEndian.Uint32(s[28:])) }

func (s slot) setSize(n int64) { binary.LittleEndian.PutUint32(s[28:], uint32(n)) }

// modified returns the time of the last write. FAT has no time zones; cards are
// written on one desk and read on another, so we take all times for UTC.
func (s slot) modified() time.Time {
	date, clock := binary.LittleEndian.Uint16(s[24:]), binary.LittleEndian.Uint16(s[22:])
	if date == 0 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}

// setModified sets the times of the last write and the last access.
func (s slot) setModified(t time.Time) {
	date, clock, _ := encodeTime(t)
	binary.LittleEndian.PutUint16(s[18:], date)
	binary.LittleEndian.PutUint16(s[22:], clock)
	binary.LittleEndian.PutUint16(s[24:], date)
}

func (s slot) setCreated(t time.Time) {
	date, clock, hundredths := encodeTime(t)
	s[13] = hundredths
	binary.LittleEndian.PutUint16(s[14:], clock)
	binary.LittleEndian.PutUint16(s[16:], date)
}

// encodeTime returns date, time to 2 seconds, and what is missing to the full
// time in hundredths of a second. Years that FAT does not know become the
// nearest it does.
func encodeTime(t time.Time) (date, clock uint16, hundredths uint8) {
	first, last := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2107, 12, 31, 23, 59, 59, 0, time.UTC)
	t = t.UTC()
	if t.Before(first) {
		t = first
	} else if t.After(last) {
		t = last
	}
	date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	clock = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	return date, clock, uint8(t.Second()%2*100 + t.Nanosecond()/10_000_000)
}
