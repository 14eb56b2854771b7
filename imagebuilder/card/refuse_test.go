package card

import (
	"strings"
	"testing"
)

func TestRefusals(t *testing.T) {
	card := func(change func(*Device)) Device {
		d := Device{Path: "/dev/sdb", Model: "Reader", Serial: "1206", Size: 32e9, Bus: "usb", Removable: true}
		change(&d)
		return d
	}
	volume := func(v Volume) func(*Device) {
		v.Path = "/dev/sdb1"
		return func(d *Device) { d.Volumes = []Volume{v} }
	}
	for _, tc := range []struct {
		name     string
		device   Device
		want     string // in the first reason; "" is none
		nameable bool
	}{
		{"new card", card(func(*Device) {}), "", false},
		{"formatted card", card(volume(Volume{Type: "exfat", Content: Empty})), "", false},
		{"card of a Pi", card(volume(Volume{Type: "vfat", Content: RaspberryPi})), "", false},
		{"card that the desktop mounted", card(volume(Volume{Type: "vfat", Content: RaspberryPi, Mounts: []string{"/media/me/bootfs"}})), "", false},
		{"photos", card(volume(Volume{Type: "vfat", Label: "EOS", Size: 32e9, Content: Foreign})), `has data on it: vfat "EOS", 32.0 GB`, true},
		{"system disk", card(volume(Volume{Mounts: []string{"/"}})), "mounted at /", false},
		{"home", card(volume(Volume{Mounts: []string{"/home"}})), "mounted at /home", false},
		{"not quite media", card(volume(Volume{Mounts: []string{"/mediathek"}})), "mounted at /mediathek", false},
		{"media, then out of it", card(volume(Volume{Mounts: []string{"/media/../home"}})), "mounted at", false},
		{"swap", card(volume(Volume{Swap: true})), "swap space", false},
		{"LVM", card(volume(Volume{Holders: []string{"vg-root"}})), "belongs to vg-root", false},
		{"locked", card(func(d *Device) { d.ReadOnly = true }), "read-only", false},
		{"too small", card(func(d *Device) { d.Size = 999 }), "has 999 bytes, the image 1000", false},
		{"built in", card(func(d *Device) { d.Removable, d.Bus = false, "ata" }), "built-in disk (ata)", true},
		{"eMMC", card(func(d *Device) { d.Removable, d.Bus = false, "emmc" }), "built-in disk (emmc)", true},
		{"backup disk", card(func(d *Device) { d.Size = 4e12 }), "has 4000 GB", true},
		{"largest card", card(func(d *Device) { d.Size = 256e9 }), "", false},
		{"partition", card(func(d *Device) { d.Whole = "/dev/sdb" }), "is a partition", false},
		{"new file", Device{Path: "card.img", Bus: fileBus}, "", false},
		{"short file", Device{Path: "card.img", Bus: fileBus, Size: 10}, "too small", false},
		// What forbids it hides what may be overridden: no name helps then.
		{"built in and mounted", card(func(d *Device) { d.Removable = false; volume(Volume{Mounts: []string{"/usr"}})(d) }), "mounted at /usr", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all := tc.device.Refusals(1000)
			if tc.want == "" {
				if len(all) > 0 {
					t.Errorf("refused: %+v", all)
				}
				return
			}
			if len(all) == 0 || !strings.Contains(all[0].Reason, tc.want) || all[0].Nameable != tc.nameable {
				t.Errorf("refusals %+v, want %q, nameable %v", all, tc.want, tc.nameable)
			}
		})
	}
}

func TestNamedBy_wantsTheWholeModelOrSerial(t *testing.T) {
	d := Device{Model: "WD Elements 25A3", Serial: "575843314142"}
	for text, want := range map[string]bool{"575843314142": true, "wd elements 25a3": true, " 575843314142\n": true, "": false, "WD": false, "yes": false} {
		if d.NamedBy(text) != want {
			t.Errorf("NamedBy(%q) = %v", text, !want)
		}
	}
	if (&Device{}).NamedBy("") {
		t.Error("a disk without a name is named by nothing")
	}
}

func TestSameAs_noticesAnotherCard(t *testing.T) {
	shown := Device{Model: "Reader", Serial: "1", Size: 10, Sequence: 3}
	for _, change := range []func(*Device){
		func(d *Device) { d.Serial = "2" }, func(d *Device) { d.Size = 11 }, func(d *Device) { d.Sequence = 4 },
	} {
		now := shown
		change(&now)
		if now.sameAs(&shown) == "" {
			t.Errorf("%+v passes for %+v", now, shown)
		}
	}
	if text := shown.sameAs(&shown); text != "" {
		t.Error(text)
	}
}
