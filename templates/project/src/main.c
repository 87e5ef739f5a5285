#include "port.h"
#include "server.h"

int main(void)
{
    port_init();
    server_run();
}
