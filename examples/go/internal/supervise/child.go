// SPDX-License-Identifier: Apache-2.0

//go:build linux

package supervise

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	pipeNumber = 3
	logNumber  = 4
	roleName   = "SUPERVISE_ROLE"
	readName   = "SUPERVISE_READ"
)

// Kinds are the names in /proc/PID/ns.
var Kinds = []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}

// Report is what a child says of itself once Go runs in it.
type Report struct {
	PID, UID, GID int
	Groups        []int
	Leader        bool              // of its session
	Namespaces    map[string]string // kind: link
	UIDMap        string
	GIDMap        string
	Setgroups     string
	OOMScoreAdj   string
	Name          string
	Terminal      [3]string // what descriptors 0 to 2 are
	Foreground    int       // process group of its controlling terminal
	Read          []string  // contents of the descriptors that it was asked to read
}

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

func observe() Report {
	session, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	groups, _ := os.Getgroups()
	report := Report{
		PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Groups: groups,
		Leader:     int(session) == os.Getpid(),
		Namespaces: Namespaces(),
		UIDMap:     read("/proc/self/uid_map"), GIDMap: read("/proc/self/gid_map"),
		Setgroups: read("/proc/self/setgroups"), OOMScoreAdj: read("/proc/self/oom_score_adj"),
		Name: read("/proc/self/comm"), Foreground: foreground(),
	}
	for i := range report.Terminal {
		report.Terminal[i], _ = os.Readlink("/proc/self/fd/" + strconv.Itoa(i))
	}
	for _, number := range strings.Fields(os.Getenv(readName)) {
		report.Read = append(report.Read, read("/proc/self/fd/"+number))
	}
	return report
}

// Namespaces are the caller's own.
func Namespaces() map[string]string {
	namespaces := map[string]string{}
	for _, kind := range Kinds {
		if link, err := os.Readlink("/proc/self/ns/" + kind); err == nil {
			namespaces[kind] = link
		}
	}
	return namespaces
}

// Embedded is the main program of an embedding program: call it in an init function. It returns if
// this process is none; else it reports on the pipe and ends.
func Embedded() {
	switch os.Getenv(roleName) {
	case "":
		return
	case "child":
		if json.NewEncoder(os.NewFile(pipeNumber, "pipe")).Encode(observe()) != nil {
			os.Exit(3)
		}
		os.Exit(42)
	case "ordinary":
		os.Exit(43)
	}
}
