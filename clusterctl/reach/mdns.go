package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// mdnsGroup is where machines answer for their own names, RFC 6762 section 3.
var mdnsGroup = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}

// resends are when a question is asked again: a Pi on Wi-Fi that saves power misses
// multicast often.
var resends = []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond}

// settle is how long other answers are waited for after the first one: a Pi may
// have a cable and Wi-Fi.
const settle = 100 * time.Millisecond

// MDNS asks the local network for a name that ends in ".local". Programs that are
// built without cgo, kubectl for Linux among them, do not find such names by the
// system's resolver. The question is a one-shot one of RFC 6762 section 5.1, sent
// through every interface; it is answered by unicast.
func MDNS(ctx context.Context, name string) ([]netip.Addr, error) {
	question, err := mdnsQuestion(name)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan netip.Addr, 16)
	var listeners sync.WaitGroup
	asked := 0
	for _, i := range multicastInterfaces() {
		conn, err := mdnsSocket(i)
		if err != nil {
			continue // a link that went down since; the others are asked
		}
		asked++
		context.AfterFunc(ctx, func() { conn.Close() })
		listeners.Go(func() { mdnsAsk(ctx, conn, question) })
		listeners.Go(func() { mdnsListen(ctx, conn, name, found) })
	}
	defer listeners.Wait()
	defer cancel()
	if asked == 0 {
		return nil, fmt.Errorf("look up %s: this computer has no network that can be asked", name)
	}
	return gather(ctx, name, found)
}

func gather(ctx context.Context, name string, found <-chan netip.Addr) ([]netip.Addr, error) {
	var all []netip.Addr
	var enough <-chan time.Time
	for {
		select {
		case a := <-found:
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
			if enough == nil {
				enough = time.After(settle)
			}
		case <-enough:
			return all, nil
		case <-ctx.Done():
			if len(all) > 0 {
				return all, nil
			}
			return nil, fmt.Errorf("look up %s: nobody in the local network answers for it", name)
		}
	}
}

func mdnsQuestion(name string) ([]byte, error) {
	qname, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: qname, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	return m.Pack()
}

func multicastInterfaces() (usable []net.Interface) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		const want = net.FlagUp | net.FlagMulticast
		if i.Flags&want == want {
			usable = append(usable, i)
		}
	}
	return usable
}

// mdnsSocket asks from a port of its own, which makes the question one of a simple
// resolver: answers come to that port.
func mdnsSocket(i net.Interface) (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(conn)
	err = errors.Join(p.SetMulticastInterface(&i), p.SetMulticastTTL(255)) // section 11
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func mdnsAsk(ctx context.Context, conn *net.UDPConn, question []byte) {
	began := time.Now()
	for _, at := range resends {
		select {
		case <-time.After(at - time.Since(began)):
		case <-ctx.Done():
			return
		}
		if _, err := conn.WriteTo(question, mdnsGroup); err != nil {
			return
		}
	}
}

func mdnsListen(ctx context.Context, conn *net.UDPConn, name string, found chan<- netip.Addr) {
	buffer := make([]byte, 9000) // section 17
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return // closed
		}
		for _, a := range mdnsAnswers(buffer[:n], name) {
			select {
			case found <- a:
			case <-ctx.Done():
				return
			}
		}
	}
}

// mdnsAnswers are the addresses that a message has for the name, none if it is no
// answer to it.
func mdnsAnswers(message []byte, name string) (all []netip.Addr) {
	var p dnsmessage.Parser
	head, err := p.Start(message)
	if err != nil || !head.Response || p.SkipAllQuestions() != nil {
		return nil
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return all
		}
		own := strings.EqualFold(strings.TrimSuffix(h.Name.String(), "."), strings.TrimSuffix(name, "."))
		if h.Type != dnsmessage.TypeA || !own {
			if p.SkipAnswer() != nil {
				return all
			}
			continue
		}
		r, err := p.AResource()
		if err != nil {
			return all
		}
		all = append(all, netip.AddrFrom4(r.A))
	}
}
