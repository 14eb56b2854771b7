package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

type object = map[string]any

// list is the list of an archive's parts in SPDX's form
// (https://spdx.github.io/spdx-spec/v2.3): its files, and the Go modules that are
// linked into its programs, as the programs themselves say it. What licence a module
// has nobody but its authors can say; their texts are in the archive.
func (r release) list(name, tree string) ([]byte, error) {
	modules, in, goVersion, err := linked(filepath.Join(tree, "bin"))
	if err != nil {
		return nil, err
	}
	const root = "SPDXRef-picluster"
	packages := []object{
		item(root, "picluster", r.version, ""),
		item("SPDXRef-go", "go", strings.TrimPrefix(goVersion, "go"), purl("stdlib", strings.TrimPrefix(goVersion, "go"))),
	}
	relations := []object{relation("SPDXRef-DOCUMENT", "DESCRIBES", root), relation(root, "DEPENDS_ON", "SPDXRef-go")}
	for i, m := range modules {
		id := fmt.Sprintf("SPDXRef-module-%d", i)
		packages = append(packages, item(id, m.Path, m.Version, purl(m.Path, m.Version)))
		for _, program := range in[m.Path] {
			relations = append(relations, relation("SPDXRef-bin-"+program, "STATIC_LINK", id))
		}
	}
	files, err := listFiles(tree)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		relations = append(relations, relation(root, "CONTAINS", f["SPDXID"].(string)))
	}
	document := object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
		"creationInfo": object{"created": r.date.Format(time.RFC3339), "creators": []string{"Tool: picluster-release"}},
		"packages":     packages, "files": files, "relationships": relations,
	}
	// A namespace is to be the document's own: its digest is in it.
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	document["documentNamespace"] = fmt.Sprintf("urn:picluster:%s:%x", name, sha256.Sum256(text))
	return json.MarshalIndent(document, "", " ")
}

func item(id, name, version, purl string) object {
	o := object{"SPDXID": id, "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": false}
	if purl != "" {
		o["externalRefs"] = []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}}
	}
	return o
}

// purl is the name of a module that scanners look vulnerabilities up by
// (https://github.com/package-url/purl-spec).
func purl(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

func relation(from, kind, to string) object {
	return object{"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to}
}

func listFiles(tree string) ([]object, error) {
	var files []object
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("SPDXRef-file-%d", len(files))
		if dir, program := filepath.Split(name); dir == "bin/" {
			id = "SPDXRef-bin-" + program
		}
		long, err := digestOf(sha256.New(), path)
		if err != nil {
			return err
		}
		// SPDX 2.3 demands the old digest of files.
		short, err := digestOf(sha1.New(), path)
		if err != nil {
			return err
		}
		files = append(files, object{"SPDXID": id, "fileName": "./" + filepath.ToSlash(name), "checksums": []object{
			{"algorithm": "SHA1", "checksumValue": short}, {"algorithm": "SHA256", "checksumValue": long}}})
		return nil
	})
	return files, err
}
