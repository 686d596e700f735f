// SPDX-License-Identifier: Apache-2.0

//go:build linux

package launch

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// container is a process in namespaces of its own.
func container(t *testing.T) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	sleeper := exec.Command("sleep", "60")
	sleeper.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS,
		Pdeathsig: syscall.SIGKILL,
	}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	})
	return sleeper
}

// output starts the command and returns what it wrote.
func output(t *testing.T, target int, args ...string) (string, int) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Error(err)
		return "", -1
	}
	defer reader.Close()
	process, err := Exec(target, Cmd{Args: args, Stdout: writer, Deadline: 20 * time.Second})
	writer.Close()
	if err != nil {
		t.Error(err)
		return "", -1
	}
	text, _ := io.ReadAll(reader)
	code, err := process.Wait()
	if err != nil {
		t.Error(err)
	}
	return string(text), code
}

func TestInside(t *testing.T) {
	target := container(t).Process.Pid
	for _, kind := range []string{"mnt", "pid", "net", "uts"} {
		expected, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", target, kind))
		if err != nil {
			t.Fatal(err)
		}
		seen, code := output(t, target, "readlink", "/proc/thread-self/ns/"+kind)
		if kind == "pid" {
			continue // /proc is that of the outer pid namespace
		}
		if code != 0 && seen == "" {
			seen, code = output(t, target, "sh", "-c", "readlink /proc/$PPID/ns/"+kind)
		}
		if code != 0 || strings.TrimSpace(seen) != expected {
			t.Errorf("%s: %q, exit code %d, expected %q", kind, seen, code, expected)
		}
	}
	if text, code := output(t, target, "sh", "-c", "echo $$; exit 7"); code != 7 || text == "" {
		t.Errorf("%q, exit code %d", text, code)
	}
}

func TestAnyGoroutine(t *testing.T) {
	target := container(t).Process.Pid
	heap := make([]byte, 256<<20)
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < 10; n++ {
				if text, code := output(t, target, "echo", "here"); text != "here\n" || code != 0 {
					t.Errorf("%q, exit code %d", text, code)
				}
			}
		}()
	}
	all.Wait()
	_ = heap[len(heap)-1]
}

func TestErrors(t *testing.T) {
	target := container(t).Process.Pid
	_, err := Exec(target, Cmd{Args: []string{"/nowhere"}})
	if err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("%v", err)
	}
	if _, err = Exec(0, Cmd{Args: []string{"true"}}); err == nil {
		t.Error("there is no process 0")
	}
	if _, err = Exec(target, Cmd{}); err == nil {
		t.Error("a command without a name")
	}
}
