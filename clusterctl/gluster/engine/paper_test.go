package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/clusterctl/gluster/brick"
	. "picluster/clusterctl/gluster/engine"
	"picluster/internal/host"
)

const gib = 1 << 30

// errCut is what everything fails with after the engine has lost its power.
var errCut = errors.New("the power is off")

// paper is a cluster that is only written down: nodes whose gluster, devices and bricks
// are lists. It is for what real nodes do too seldom, or cannot be made to do in time;
// that gluster is as it is here is what the tests with real nodes say.
type paper struct {
	*Engine
	t  *testing.T
	mu sync.Mutex

	state   []byte // as saved
	volumes map[string]*paperVolume
	devices map[string]*paperDevice // by the id that they are formatted with
	peers   []string                // addresses of the pool's members
	away    map[string]bool         // of these, those that do not answer
	left    int                     // operations until the power goes
	before  func(command string)    // called before gluster is told to do something
	lost    bool                    // set by before: the command does nothing, and has no answer
}

type paperVolume struct {
	started  bool
	replicas int
	bricks   []string
	options  map[string]string
}

type paperDevice struct {
	name    string
	bricks  map[string]int64
	unused  map[string]bool // bricks that gluster has not used
	working int             // operations that run on it now
}

// newPaper has n nodes with as many devices each, of 10 GiB.
func newPaper(t *testing.T, n, devices int) *paper {
	t.Helper()
	p := &paper{t: t, volumes: map[string]*paperVolume{}, devices: map[string]*paperDevice{}, away: map[string]bool{}, left: 1 << 30}
	p.restart(1 << 30)
	c, err := p.CreateCluster(t.Context())
	p.ok(err)
	for i := range n {
		added, err := p.AddNode(t.Context(), c.ID, Node{Manage: fmt.Sprintf("node%d", i), Storage: fmt.Sprintf("10.0.0.%d", i), Zone: i + 1})
		p.ok(err)
		for d := range devices {
			_, err = p.AddDevice(t.Context(), added.ID, Device{Name: fmt.Sprintf("/dev/node%d.%d", i, d)}, false)
			p.ok(err)
		}
	}
	return p
}

// restart begins with another engine that has power for so many operations.
func (p *paper) restart(operations int) {
	p.left = operations
	p.Engine = &Engine{Store: p, Bricks: paperBricks{p}, Reach: func(_ context.Context, n Node) (host.Host, error) {
		if p.away[n.Storage] {
			return nil, fmt.Errorf("dial %s: no route to host", n)
		}
		return paperNode{p: p, address: n.Storage}, nil
	}}
}

func (p *paper) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *paper) now() State {
	p.t.Helper()
	s, err := p.State(p.t.Context())
	p.ok(err)
	return s
}

// onDisk lists all bricks as DEVICE/ID.
func (p *paper) onDisk() (all []string) {
	for id, d := range p.devices {
		for b := range d.bricks {
			all = append(all, id+"/"+b)
		}
	}
	slices.Sort(all)
	return all
}

// use takes the power for one operation.
func (p *paper) use() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.left < 0 {
		return errCut
	}
	return nil
}

// Load implements Store.
func (p *paper) Load(context.Context) (s State, err error) {
	if p.state != nil {
		err = json.Unmarshal(p.state, &s)
	}
	return s, err
}

// Save implements Store.
func (p *paper) Save(_ context.Context, s State) error {
	err := p.use()
	if err == nil {
		p.state, err = json.Marshal(s)
	}
	return err
}

// paperBricks are the bricks on all devices.
type paperBricks struct{ *paper }

// on is the device while something is done to it.
func (p paperBricks) on(d brick.Device, do func(is *paperDevice)) error {
	if err := p.use(); err != nil {
		return err
	}
	p.mu.Lock()
	is := p.devices[d.ID]
	if is == nil {
		p.mu.Unlock()
		return fmt.Errorf("%s is not mounted", d.Name)
	}
	is.working++
	if is.working > 1 {
		p.t.Errorf("on %s two things are done at once", d.Name)
	}
	p.mu.Unlock()
	time.Sleep(time.Millisecond) // for who comes at the same time
	p.mu.Lock()
	defer p.mu.Unlock()
	do(is)
	is.working--
	return nil
}

func (p paperBricks) Prepare(_ context.Context, _ host.Host, d brick.Device, wipe bool) error {
	for id, is := range p.devices {
		if is.name != d.Name || id == d.ID {
			continue
		}
		if !wipe {
			return fmt.Errorf("prepare %s: %w: xfs", d.Name, brick.ErrData)
		}
		delete(p.devices, id)
	}
	if err := p.use(); err != nil {
		return err
	}
	if p.devices[d.ID] == nil {
		p.devices[d.ID] = &paperDevice{name: d.Name, bricks: map[string]int64{}, unused: map[string]bool{}}
	}
	return p.use()
}

func (p paperBricks) Release(_ context.Context, _ host.Host, d brick.Device) error {
	if is := p.devices[d.ID]; is != nil && len(is.bricks) > 0 {
		return fmt.Errorf("release %s: %d bricks are on it", d.Name, len(is.bricks))
	}
	delete(p.devices, d.ID)
	return nil
}

func (paperBricks) Footprint(bytes int64) int64 { return bytes }

func (p paperBricks) Usage(_ context.Context, _ host.Host, d brick.Device) (brick.Usage, error) {
	u := brick.Usage{Total: 10 * gib, Bricks: map[string]int64{}}
	return u, p.on(d, func(is *paperDevice) {
		for id, bytes := range is.bricks {
			u.Bricks[id] = bytes
		}
	})
}

func (p paperBricks) Create(_ context.Context, _ host.Host, d brick.Device, b brick.Brick) error {
	return p.on(d, func(is *paperDevice) { is.bricks[b.ID] = b.Bytes })
}

func (p paperBricks) Grow(ctx context.Context, h host.Host, d brick.Device, b brick.Brick) error {
	return p.Create(ctx, h, d, b)
}

func (p paperBricks) Delete(_ context.Context, _ host.Host, d brick.Device, id string) error {
	return p.on(d, func(is *paperDevice) { delete(is.bricks, id) })
}

// paperNode is a node with gluster on it, and no other program.
type paperNode struct {
	host.Host
	p       *paper
	address string
}

func (n paperNode) String() string { return n.address }

func (n paperNode) Write(context.Context, string, host.File) error { return n.p.use() }

func (n paperNode) Stat(_ context.Context, path string) (host.Info, error) {
	device, id, ok := brick.InPath(strings.TrimSuffix(path, "/.glusterfs"))
	if d := n.p.devices[device]; ok && d != nil && !d.unused[id] {
		if _, there := d.bricks[id]; there {
			return host.Info{Mode: fs.ModeDir}, nil
		}
	}
	return host.Info{}, fs.ErrNotExist
}

func (n paperNode) Run(_ context.Context, c host.Cmd) ([]byte, error) {
	if err := n.p.use(); err != nil {
		return nil, err
	}
	var words []string
	for _, w := range c.Args[1:] {
		if !strings.HasPrefix(w, "--") {
			words = append(words, w)
		}
	}
	command := strings.Join(words, " ")
	if n.p.before != nil {
		n.p.before(command)
	}
	if n.p.lost {
		n.p.lost = false
		return nil, errCut
	}
	text, refused := n.p.gluster(n.address, words)
	if refused != "" {
		text = "<opRet>-1</opRet><opErrno>30800</opErrno><opErrstr>" + refused + "</opErrstr>"
	} else {
		text = "<opRet>0</opRet><opErrno>0</opErrno><opErrstr/>" + text
	}
	return []byte("<?xml version=\"1.0\"?><cliOutput>" + text + "</cliOutput>"), nil
}
