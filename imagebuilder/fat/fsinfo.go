package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The FSInfo sector saves a driver from counting: how many clusters are free,
// and where to begin the search for one.
const (
	infoLeadAt, infoLead     = 0, 0x41615252
	infoStructAt, infoStruct = 484, 0x61417272
	infoTrailAt, infoTrail   = 508, 0xaa550000
	infoFreeAt               = 488
	infoNextAt               = 492
	infoUnknown              = 0xffffffff
)

// readInfo returns the FSInfo sector, nil if the volume has none.
func (v *Volume) readInfo() ([]byte, error) {
	if v.infoStart == 0 {
		return nil, nil
	}
	sector := make([]byte, v.sectorSize)
	if err := v.readAt(sector, v.infoStart); err != nil {
		return nil, fmt.Errorf("read FSInfo sector: %w", err)
	}
	le32 := func(at int) uint32 { return binary.LittleEndian.Uint32(sector[at:]) }
	if le32(infoLeadAt) != infoLead || le32(infoStructAt) != infoStruct || le32(infoTrailAt) != infoTrail {
		return nil, fmt.Errorf("FSInfo sector: its signature is missing: %w", ErrDamaged)
	}
	return sector, nil
}

// saveInfo brings the FSInfo sector up to date.
func (v *Volume) saveInfo() error {
	sector, err := v.readInfo()
	if sector == nil || err != nil {
		return err
	}
	before := bytes.Clone(sector)
	binary.LittleEndian.PutUint32(sector[infoFreeAt:], v.free)
	next := v.lowest
	if v.free == 0 {
		next = infoUnknown
	}
	binary.LittleEndian.PutUint32(sector[infoNextAt:], next)
	if bytes.Equal(before, sector) {
		return nil
	}
	if err := v.writeAt(sector, v.infoStart); err != nil {
		return fmt.Errorf("write FSInfo sector: %w", err)
	}
	return nil
}
