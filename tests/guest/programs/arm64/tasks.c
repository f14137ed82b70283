#include "tasks.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char** argv) {
    static const struct {
        const char* name;
        int (*run)(void);
    } rows[] = {{"threads", run_threads}, {"rewrite", run_rewrite}, {"kvm", run_kvm}};
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 0; argc == 2 && i < sizeof rows / sizeof *rows; ++i) {
        if (strcmp(argv[1], rows[i].name) == 0) return rows[i].run();
    }
    fprintf(stderr, "usage: tasks threads|rewrite|kvm\n");
    return 2;
}
