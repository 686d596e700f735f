// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nsenter

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nsjoin/internal/supervise"
)

const (
	cloneFlags = 27281 + iota
	paths
	uidMap
	gidMap
	setgroupsAllowed
	oomScoreAdj
	rootless
	newuidmap
	newgidmap
	mountSources
)

func init() { supervise.Embedded() }

type pids struct {
	Stage1 int `json:"stage1_pid"`
	Stage2 int `json:"stage2_pid"`
}

// child takes all that a program replies which comes through.
func child(t *testing.T, program *supervise.Program) supervise.Report {
	t.Helper()
	program.Announced(t)
	program.Decoder.DisallowUnknownFields()
	var reply pids
	if err := program.Decoder.Decode(&reply); err != nil {
		t.Fatal("no pids: ", err)
	}
	program.Ends(t, 0)
	// What a supervisor does with both: the first must neither hang nor take another child.
	if pid, err := syscall.Wait4(reply.Stage1, nil, 0, nil); pid != -1 && pid != reply.Stage1 {
		t.Fatalf("the wait for stage 1 (%d) got %d, %v", reply.Stage1, pid, err)
	}
	if reply.Stage1 <= 0 || reply.Stage2 <= 0 || reply.Stage1 == reply.Stage2 {
		t.Fatalf("pids: %+v", reply)
	}
	return program.Child(t, reply.Stage2)
}

func start(t *testing.T, attributes ...supervise.Attribute) *supervise.Program {
	t.Helper()
	return supervise.Start(t, supervise.Message(attributes...), supervise.Options{LogLevel: 5})
}

// other lists the kinds in which the report differs from this process.
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

func ownPath(kind string) string { return fmt.Sprintf("%s:/proc/%d/ns/%s", kind, os.Getpid(), kind) }

func TestValidPaths(t *testing.T) {
	supervise.NeedRoot(t)
	report := child(t, start(t, supervise.Number(cloneFlags, syscall.CLONE_NEWNET), supervise.Text(paths, ownPath("pid"))))
	expect(t, "new namespaces", "net", other(report))
	expect(t, "leader of its session", true, report.Leader)
	expect(t, "name", "runc:[2:INIT]", report.Name)
	expect(t, "ids", "0 0", fmt.Sprint(report.UID, report.GID))
}

func TestInvalidPaths(t *testing.T) {
	for _, path := range []string{"pid:/proc/-1/ns/pid", "pid:/etc/passwd", "pid:", "pid", ":/proc/self/ns/pid", "none:/proc/self/ns/pid", ""} {
		program := start(t, supervise.Number(cloneFlags, syscall.CLONE_NEWNET), supervise.Text(paths, path))
		program.Fails(t)
		if !hasFatal(program.Logs(t)) {
			t.Errorf("%q: no fatal line", path)
		}
	}
}

func TestIncorrectPathType(t *testing.T) {
	program := start(t, supervise.Text(paths, fmt.Sprintf("net:/proc/%d/ns/pid", os.Getpid())))
	program.Fails(t)
	if !hasFatal(program.Logs(t)) {
		t.Error("no fatal line")
	}
}

func hasFatal(lines []supervise.LogLine) bool {
	for _, line := range lines {
		if line.Level == "fatal" && strings.HasPrefix(line.Text, "nsexec") {
			return true
		}
	}
	return false
}

func TestPIDNamespace(t *testing.T) {
	supervise.NeedRoot(t)
	report := child(t, start(t, supervise.Number(cloneFlags, syscall.CLONE_NEWPID|syscall.CLONE_NEWIPC|syscall.CLONE_NEWUTS)))
	expect(t, "pid", 1, report.PID)
}

func TestUserNamespace(t *testing.T) {
	supervise.NeedRoot(t)
	report := child(t, start(t,
		supervise.Number(cloneFlags, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS|syscall.CLONE_NEWUTS),
		supervise.Text(uidMap, "0 100000 1000\n1000 300000 5\n"), supervise.Text(gidMap, "0 200000 1000\n"),
		supervise.Flag(setgroupsAllowed, true), supervise.Text(oomScoreAdj, "123"), supervise.Flag(rootless, false)))
	expect(t, "new namespaces", "mnt user uts", other(report))
	expect(t, "uid map", "0 100000 1000 1000 300000 5", report.UIDMap)
	expect(t, "gid map", "0 200000 1000", report.GIDMap)
	expect(t, "setgroups", "allow", report.Setgroups)
	expect(t, "groups", []int{}, report.Groups)
	expect(t, "oom_score_adj", "123", report.OOMScoreAdj)
	expect(t, "ids", "0 0", fmt.Sprint(report.UID, report.GID))
}

// Without privileges, if the tests have none.
func TestRootless(t *testing.T) {
	report := child(t, start(t,
		supervise.Number(cloneFlags, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNET),
		supervise.Text(uidMap, fmt.Sprintf("0 %d 1\n", os.Geteuid())), supervise.Text(gidMap, fmt.Sprintf("0 %d 1\n", os.Getegid())),
		supervise.Flag(setgroupsAllowed, false), supervise.Flag(rootless, true)))
	expect(t, "new namespaces", "net user", other(report))
	expect(t, "uid map", fmt.Sprintf("0 %d 1", os.Geteuid()), report.UIDMap)
	expect(t, "setgroups", "deny", report.Setgroups)
}

func TestMountSources(t *testing.T) {
	supervise.NeedRoot(t)
	folder := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("content of "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	message := supervise.Message(
		supervise.Number(cloneFlags, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS),
		supervise.Text(uidMap, "0 100000 1000\n"), supervise.Text(gidMap, "0 100000 1000\n"),
		supervise.Text(mountSources, "\000"+folder+"/a\000\000"+folder+"/b\000"))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	// The numbers are taken, as runc does it.
	report := child(t, supervise.Start(t, message, supervise.Options{
		Environment: []string{"_LIBCONTAINER_MOUNT_FDS=[-1,6,-1,5]"}, Files: []*os.File{null, null}, Read: []int{6, 5}, LogLevel: 5}))
	expect(t, "sources", []string{"content of a", "content of b"}, report.Read)
	program := supervise.Start(t, bytes.ReplaceAll(message, []byte("/b\000"), []byte("/c\000")), supervise.Options{
		Environment: []string{"_LIBCONTAINER_MOUNT_FDS=[-1,6,-1,5]"}, Files: []*os.File{null, null}, LogLevel: 5})
	program.FailsLate(t)
}

func TestLogs(t *testing.T) {
	message := supervise.Message(
		supervise.Number(cloneFlags, syscall.CLONE_NEWUSER),
		supervise.Text(uidMap, fmt.Sprintf("0 %d 1\n", os.Geteuid())), supervise.Text(gidMap, fmt.Sprintf("0 %d 1\n", os.Getegid())),
		supervise.Flag(rootless, true))
	for level, expected := range map[int]bool{5: true, 6: true, 4: false, 1: false} {
		program := supervise.Start(t, message, supervise.Options{LogLevel: level})
		child(t, program)
		lines := program.Logs(t)
		expect(t, fmt.Sprintf("lines at level %d", level), expected, len(lines) > 0)
		for _, line := range lines {
			if !strings.HasPrefix(line.Text, "nsexec") || line.Level != "debug" {
				t.Errorf("a line of another form: %+v", line)
			}
		}
	}
	// Quoted for JSON.
	strange := "/none/\"\\\001\177\n\t\u00e9"
	program := start(t, supervise.Text(paths, "net:"+strange))
	program.Fails(t)
	text := fmt.Sprint(program.Logs(t))
	if !strings.Contains(text, strange) {
		t.Errorf("the path is not in the log: %q", text)
	}
}

func TestErrorsWithoutLogPipe(t *testing.T) {
	program := supervise.Start(t, supervise.Message(supervise.Text(paths, "net:/none")), supervise.Options{})
	program.Fails(t)
	if !strings.Contains(program.Errors(), "/none") {
		t.Errorf("on standard error: %q", program.Errors())
	}
}

func TestHostileMessages(t *testing.T) {
	good := supervise.Message(supervise.Number(cloneFlags, 0), supervise.Text(paths, "net:/proc/self/ns/net"))
	with := func(change func(message []byte)) []byte {
		message := append([]byte{}, good...)
		change(message)
		return message
	}
	for name, message := range map[string][]byte{
		"an error for a message":       with(func(m []byte) { supervise.Native.PutUint16(m[4:], 2) }),
		"another type":                 with(func(m []byte) { supervise.Native.PutUint16(m[4:], 62001) }),
		"shorter than its header":      with(func(m []byte) { supervise.Native.PutUint32(m, 15) }),
		"4 GB":                         with(func(m []byte) { supervise.Native.PutUint32(m, 1<<32-1) }),
		"an attribute of no length":    with(func(m []byte) { supervise.Native.PutUint16(m[16:], 0) }),
		"an attribute past the end":    with(func(m []byte) { supervise.Native.PutUint16(m[24:], 65535) }),
		"an unknown attribute":         with(func(m []byte) { supervise.Native.PutUint16(m[18:], 1) }),
		"an attribute that is twice":   supervise.Message(supervise.Number(cloneFlags, 0), supervise.Number(cloneFlags, 0)),
		"a flag that is no flag":       supervise.Message(supervise.Number(cloneFlags, 1)),
		"a map that is no map":         supervise.Message(supervise.Number(cloneFlags, syscall.CLONE_NEWUSER), supervise.Text(uidMap, "root")),
		"a number that is no number":   supervise.Message(supervise.Text(oomScoreAdj, "12x")),
		"a bool of another size":       supervise.Message(supervise.ByteFlag(rootless, true)),
		"a length that wraps 16 bits":  supervise.Message(supervise.Attribute{Type: paths, Payload: make([]byte, 65536+8)}),
		"more mount sources than fds":  supervise.Message(supervise.Text(mountSources, "/\000/\000/\000")),
		"nothing but zeros afterwards": append(with(func(m []byte) { supervise.Native.PutUint32(m, 4096) }), make([]byte, 4096)...),
	} {
		program := supervise.Start(t, message, supervise.Options{LogLevel: 5})
		t.Log(name)
		program.Fails(t)
		if !hasFatal(program.Logs(t)) {
			t.Error("no fatal line")
		}
	}
}

func TestEndOfPipe(t *testing.T) {
	good := supervise.Message(supervise.Number(cloneFlags, 0))
	for length := 0; length < len(good); length += 3 {
		program := supervise.Start(t, good[:length], supervise.Options{LogLevel: 5})
		program.Announced(t)
		program.Pipe.Close()
		program.Ends(t, 1)
		supervise.NoChild(t)
	}
}

func TestBadDescriptor(t *testing.T) {
	for _, number := range []string{"x", "-1", "3x", " 3", "03", "99999", "99999999999999999999"} {
		program := supervise.Start(t, nil, supervise.Options{Environment: []string{"_LIBCONTAINER_INITPIPE=" + number}})
		program.Ends(t, 1)
		supervise.NoChild(t)
	}
}

// An ordinary start: an empty variable asks for nothing.
func TestNobodyAsks(t *testing.T) {
	for _, variable := range []string{"NOTHING=", "_LIBCONTAINER_INITPIPE="} {
		process, err := os.StartProcess(os.Args[0], []string{"ordinary"},
			&os.ProcAttr{Env: []string{"SUPERVISE_ROLE=ordinary", variable}})
		if err != nil {
			t.Fatal(err)
		}
		state, err := process.Wait()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "exit code after "+variable, supervise.OrdinaryCode, state.ExitCode())
	}
}
