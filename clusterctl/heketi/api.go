package heketi

// The documents of Heketi's REST API, https://github.com/heketi/heketi/wiki/API, as
// far as they are about files. Sizes of storage are in KiB, of volumes in GiB.

type clusterFlags struct {
	Block bool `json:"block"`
	File  bool `json:"file"`
}

type clusterInfo struct {
	ID      string   `json:"id"`
	Nodes   []string `json:"nodes"`
	Volumes []string `json:"volumes"`
	clusterFlags
	BlockVolumes []string `json:"blockvolumes"`
}

type hostnames struct {
	Manage  []string `json:"manage"`
	Storage []string `json:"storage"`
}

type nodeRequest struct {
	Zone      int               `json:"zone"`
	Hostnames hostnames         `json:"hostnames"`
	Cluster   string            `json:"cluster"`
	Tags      map[string]string `json:"tags,omitempty"`
}

type nodeInfo struct {
	nodeRequest
	ID      string       `json:"id"`
	State   string       `json:"state"`
	Devices []deviceInfo `json:"devices"`
}

type deviceRequest struct {
	Name        string            `json:"name"`
	Tags        map[string]string `json:"tags,omitempty"`
	Node        string            `json:"node"`
	DestroyData bool              `json:"destroydata"`
}

type deviceInfo struct {
	Name    string            `json:"name"`
	Tags    map[string]string `json:"tags,omitempty"`
	Storage storageSize       `json:"storage"`
	ID      string            `json:"id"`
	State   string            `json:"state"`
	Bricks  []brickInfo       `json:"bricks"`
}

type storageSize struct {
	Total int64 `json:"total"`
	Free  int64 `json:"free"`
	Used  int64 `json:"used"`
}

type brickInfo struct {
	ID     string `json:"id"`
	Path   string `json:"path"`
	Device string `json:"device"`
	Node   string `json:"node"`
	Volume string `json:"volume"`
	Size   int64  `json:"size"`
}

type durability struct {
	Type      string `json:"type,omitempty"`
	Replicate struct {
		Replica int `json:"replica,omitempty"`
	} `json:"replicate"`
	Disperse struct {
		Data       int `json:"data,omitempty"`
		Redundancy int `json:"redundancy,omitempty"`
	} `json:"disperse"`
}

type snapshot struct {
	Enable bool    `json:"enable"`
	Factor float32 `json:"factor"`
}

type volumeRequest struct {
	Size       int64      `json:"size"`
	Clusters   []string   `json:"clusters,omitempty"`
	Name       string     `json:"name"`
	Durability durability `json:"durability"`
	GID        int64      `json:"gid,omitempty"`
	Options    []string   `json:"glustervolumeoptions,omitempty"`
	Block      bool       `json:"block,omitempty"`
	Snapshot   snapshot   `json:"snapshot"`
}

type volumeInfo struct {
	volumeRequest
	ID      string `json:"id"`
	Cluster string `json:"cluster"`
	Mount   struct {
		GlusterFS struct {
			Hosts   []string          `json:"hosts"`
			Device  string            `json:"device"`
			Options map[string]string `json:"options"`
		} `json:"glusterfs"`
	} `json:"mount"`
	BlockInfo struct{}    `json:"blockinfo"`
	Bricks    []brickInfo `json:"bricks"`
}

type stateRequest struct {
	State string `json:"state"`
}

type tagsRequest struct {
	Tags   map[string]string `json:"tags"`
	Change string            `json:"change_type"`
}

type expandRequest struct {
	Size int64 `json:"expand_size"`
}

type pendingInfo struct {
	ID     string `json:"id"`
	Type   string `json:"type_name"`
	Status string `json:"status"`
	Detail string `json:"sub_status"`
}

type pendingDetails struct {
	pendingInfo
	Changes []pendingChange `json:"changes"`
}

type pendingChange struct {
	ID          string `json:"id"`
	Description string `json:"description"`
}
