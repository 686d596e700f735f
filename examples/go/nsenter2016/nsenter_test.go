// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nsenter2016

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"nsjoin/internal/supervise"
)

const (
	cloneFlags = 27281 + iota
	consolePath
	paths
	uidMap
	gidMap
	setgroupsAllowed
)

func init() { supervise.Embedded() }

// child takes all that a program replies which comes through.
func child(t *testing.T, program *supervise.Program) supervise.Report {
	t.Helper()
	program.Decoder.DisallowUnknownFields()
	var reply struct {
		PID int `json:"pid"`
	}
	if err := program.Decoder.Decode(&reply); err != nil {
		t.Fatal("no pid: ", err)
	}
	program.Ends(t, 0)
	return program.Child(t, reply.PID)
}

func start(t *testing.T, attributes ...supervise.Attribute) *supervise.Program {
	t.Helper()
	return supervise.Start(t, supervise.Message(attributes...), supervise.Options{})
}

func other(report supervise.Report) string {
	var kinds []string
	own := supervise.Namespaces()
	for _, kind := range supervise.Kinds {
		if own[kind] != report.Namespaces[kind] {
			kinds = append(kinds, kind)
		}
	}
	return strings.Join(kinds, " ")
}

func expect(t *testing.T, what string, expected, seen any) {
	t.Helper()
	if fmt.Sprint(expected) != fmt.Sprint(seen) {
		t.Errorf("%s: expected %v, seen %v", what, expected, seen)
	}
}

func TestValidPaths(t *testing.T) {
	supervise.NeedRoot(t)
	report := child(t, start(t, supervise.Number(cloneFlags, syscall.CLONE_NEWNET),
		supervise.Text(paths, fmt.Sprintf("/proc/%d/ns/pid", os.Getpid()))))
	expect(t, "new namespaces", "net", other(report))
	expect(t, "leader of its session", true, report.Leader)
	expect(t, "ids", "0 0", fmt.Sprint(report.UID, report.GID))
}

func TestSeveralPaths(t *testing.T) {
	supervise.NeedRoot(t)
	own := fmt.Sprintf("/proc/%d/ns/", os.Getpid())
	report := child(t, start(t, supervise.Number(cloneFlags, syscall.CLONE_NEWUTS),
		supervise.Text(paths, own+"ipc,"+own+"net,"+own+"pid")))
	expect(t, "new namespaces", "uts", other(report))
}

func TestInvalidPaths(t *testing.T) {
	for _, path := range []string{"/proc/-1/ns/pid", "/etc/passwd", "pid:/proc/self/ns/pid", ",", "", "/proc/self/ns/net,/none"} {
		program := start(t, supervise.Number(cloneFlags, syscall.CLONE_NEWNET), supervise.Text(paths, path))
		program.Fails(t)
		if program.Errors() == "" {
			t.Errorf("%q: nothing on standard error", path)
		}
	}
}

func TestUserNamespace(t *testing.T) {
	supervise.NeedRoot(t)
	report := child(t, start(t,
		supervise.Number(cloneFlags, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS|syscall.CLONE_NEWIPC),
		supervise.Text(uidMap, "0 100000 1000\n"), supervise.Text(gidMap, "0 200000 1000\n"),
		supervise.ByteFlag(setgroupsAllowed, true)))
	expect(t, "new namespaces", "ipc mnt user", other(report))
	expect(t, "uid map", "0 100000 1000", report.UIDMap)
	expect(t, "gid map", "0 200000 1000", report.GIDMap)
	expect(t, "setgroups", "allow", report.Setgroups)
	expect(t, "ids", "0 0", fmt.Sprint(report.UID, report.GID))
}

func TestConsole(t *testing.T) {
	supervise.NeedRoot(t)
	_, path := supervise.OpenTerminal(t)
	for _, flags := range []uint32{0, syscall.CLONE_NEWNS} {
		report := child(t, start(t, supervise.Number(cloneFlags, flags), supervise.Text(consolePath, path)))
		expect(t, "descriptors 0 to 2", [3]string{path, path, path}, report.Terminal)
		expect(t, "process group in front", report.PID, report.Foreground)
	}
	program := start(t, supervise.Number(cloneFlags, 0), supervise.Text(consolePath, "/etc/passwd"))
	program.Fails(t)
}

// The bools of later dialects have four bytes, and the attributes other numbers.
func TestMessagesOfLaterDialects(t *testing.T) {
	for name, message := range map[string][]byte{
		"a bool of four bytes": supervise.Message(supervise.Number(cloneFlags, 0), supervise.Flag(setgroupsAllowed, true)),
		"rootless":             supervise.Message(supervise.Number(cloneFlags, 0), supervise.ByteFlag(27287, true)),
		"an error":             {20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		t.Log(name)
		supervise.Start(t, message, supervise.Options{}).Fails(t)
	}
}
