// Package e2e turns a bootable base image into cards on real block devices, the
// way a person does: with the built program, judged by other tools. Its tests have
// the build tag e2e and need root; a missing prerequisite is a failure.
package e2e
