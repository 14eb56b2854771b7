package steps

import (
	"net/url"
	"regexp"
	"strings"
)

// lockProblem says that another program is installing: apt-daily at the first boot,
// a person. Each version and each of the three locks has its own words.
func lockProblem(stderr string) string {
	for _, words := range []string{"Could not get lock", "Unable to acquire the dpkg frontend lock", "Unable to lock ",
		"frontend lock is locked by another process", "frontend lock was locked by another process",
		"status database is locked by another process", "database lock was locked by another process", "database lock is locked by another process"} {
		if strings.Contains(stderr, words) {
			holder := lockHolder.FindStringSubmatch(stderr)
			if holder == nil {
				return "another program is installing packages"
			}
			return "another program is installing packages: process " + holder[1]
		}
	}
	return ""
}

// lockHolder is in apt 2 ("held by process 123 (apt-get)") and dpkg 1.20 ("with pid 123").
var lockHolder = regexp.MustCompile(`(?:held by process|with pid) ([0-9]+(?: \([^)]+\))?)`)

var (
	updateFailed = regexp.MustCompile(`(?m)^Err:[0-9]+ (\S+)[^\n]*(?:\n  ([^\n]+))?`)
	fetchFailed  = regexp.MustCompile(`(?m)^[EW]: Failed to fetch (\S+?)\s+([^\n]+)`)
)

// updateProblem is the first repository that apt-get update has not reached.
func updateProblem(stdout string) string {
	return repositoryProblem(updateFailed.FindStringSubmatch(stdout))
}

// fetchProblem is the first file that apt-get has not got.
func fetchProblem(stderr string) string {
	return repositoryProblem(fetchFailed.FindStringSubmatch(stderr))
}

// repositoryProblem names the host and, of what apt says about it, the reason.
func repositoryProblem(m []string) string {
	if m == nil {
		return ""
	}
	name := m[1]
	if u, err := url.Parse(m[1]); err == nil && u.Host != "" {
		name = u.Host
	}
	why := strings.TrimSpace(m[2])
	switch {
	case why == "":
		return name + " is not reached"
	case strings.Contains(why, "404 "): // it is reached
		return name + ": " + why
	}
	return name + " is not reached: " + why
}

// brokenPackage is how dpkg says which package it could do nothing with, and in the
// next line why: the file name of an archive, or a package with what was to be done.
var brokenPackage = regexp.MustCompile(`(?m)^dpkg: error processing (?:package|archive) (\S+) \(--[a-z]+\):\n ([^\n]+)`)
