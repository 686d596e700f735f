// SPDX-License-Identifier: Apache-2.0

// A program that runs the nsexec.c of runc before main, as runc does.

extern void nsexec(void);

__attribute__((constructor)) static void enter(void) {
    nsexec();
}

int main(void) {
    return 0;
}
