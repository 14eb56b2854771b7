package engine_test

import (
	"fmt"
	"slices"
	"strings"
)

// gluster answers as GlusterFS 11 does, as far as the engine asks.
func (p *paper) gluster(self string, words []string) (text, refused string) {
	if words[0] == "pool" {
		return p.poolList(self), ""
	}
	if words[0] == "peer" {
		p.probe(self, words[2])
		return "", ""
	}
	verb, name := words[1], words[2]
	v := p.volumes[name]
	switch {
	case verb == "info":
		return p.info(name)
	case verb == "create":
		return "", p.create(name, words[3:])
	case v == nil:
		return "", "Volume " + name + " does not exist"
	case verb == "set":
		for i := 3; i < len(words); i += 2 {
			v.options[words[i]] = words[i+1]
		}
	case verb == "start":
		v.started = true
	case verb == "stop":
		v.started = false
	case verb == "delete":
		return "", p.remove(name, v)
	case !v.started:
		return "", "Volume " + name + " is not started"
	case verb == "heal" && len(words) > 4:
		return v.healInfo(p), ""
	case verb == "replace-brick":
		return "", v.replace(words[3], words[4])
	}
	return "", ""
}

func (p *paper) poolList(self string) string {
	text := ""
	for _, address := range p.peers {
		connected := 1
		if p.away[address] {
			connected = 0
		}
		if address != self {
			text += fmt.Sprintf("<peer><uuid>u%s</uuid><hostname>%[1]s</hostname><connected>%d</connected><state>3</state></peer>", address, connected)
		}
	}
	return "<peerStatus>" + text + "<peer><uuid>u" + self + "</uuid><hostname>localhost</hostname><connected>1</connected></peer></peerStatus>"
}

// probe makes both members of the one pool that there is.
func (p *paper) probe(addresses ...string) {
	for _, address := range addresses {
		if !slices.Contains(p.peers, address) {
			p.peers = append(p.peers, address)
		}
	}
}

func (p *paper) info(name string) (text, refused string) {
	if name != "all" && p.volumes[name] == nil {
		return "", "Volume " + name + " does not exist"
	}
	count := 0
	for is, v := range p.volumes {
		if name != "all" && name != is {
			continue
		}
		count++
		status := "Stopped"
		if v.started {
			status = "Started"
		}
		text += fmt.Sprintf("<volume><name>%s</name><statusStr>%s</statusStr><brickCount>%d</brickCount><replicaCount>%d</replicaCount><bricks>", is, status, len(v.bricks), v.replicas)
		for _, b := range v.bricks {
			text += "<brick><name>" + b + "</name></brick>"
		}
		text += "</bricks><options>"
		for key, value := range v.options {
			text += "<option><name>" + key + "</name><value>" + value + "</value></option>"
		}
		text += "</options></volume>"
	}
	return fmt.Sprintf("<volInfo><volumes>%s<count>%d</count></volumes></volInfo>", text, count), ""
}

func (p *paper) create(name string, words []string) (refused string) {
	v := &paperVolume{replicas: 1, options: map[string]string{}}
	if words[0] == "replica" {
		fmt.Sscan(words[1], &v.replicas)
		words = words[2:]
	}
	if name == "all" {
		return `"all" cannot be the name of a volume.`
	}
	v.bricks = words
	p.volumes[name] = v
	return ""
}

func (p *paper) remove(name string, v *paperVolume) (refused string) {
	for _, is := range p.away {
		if is {
			return "Some of the peers are down"
		}
	}
	if v.started {
		return "Volume " + name + " has been started.Volume needs to be stopped before deletion."
	}
	delete(p.volumes, name)
	return ""
}

func (v *paperVolume) healInfo(p *paper) string {
	text := ""
	for _, b := range v.bricks {
		address, path, _ := strings.Cut(b, ":")
		_, err := (paperNode{p: p}).Stat(p.t.Context(), path)
		if p.away[address] || err != nil {
			text += "<brick><name>" + b + "</name><status>Transport endpoint is not connected</status></brick>"
			continue
		}
		text += "<brick><name>" + b + "</name><status>Connected</status><totalNumberOfEntries>0</totalNumberOfEntries>" +
			"<numberOfEntriesInSplitBrain>0</numberOfEntriesInSplitBrain></brick>"
	}
	return "<healInfo><bricks>" + text + "</bricks></healInfo>"
}

func (v *paperVolume) replace(old, fresh string) (refused string) {
	i := slices.Index(v.bricks, old)
	if i < 0 {
		return "brick: " + old + " does not exist in volume"
	}
	v.bricks[i] = fresh
	return ""
}
