# An application in a container, a server that it reaches, and README's example between them.
cd /root
docker import culvert.tar.gz culvert
mkdir -p application/bin
cp busybox application/bin/
tar -C application -c bin | docker import - application
docker run --detach --name application --network none application /bin/busybox sleep 1000000
application=$(docker inspect --format '{{.State.Pid}}' application)

# The image's own programs serve the server.
tar -xzf culvert.tar.gz -C /usr/local ./bin
ip netns add server
ip link add eth0 netns server type veth peer name eth0 netns "$application"
inside() { nsenter --net="/proc/$application/ns/net" "$@"; }
ip -n server address add 192.0.2.1/24 dev eth0
ip -n server link set eth0 up
inside ip address add 192.0.2.2/24 dev eth0
inside ip link set eth0 up

mkdir server /etc/wireguard
install -m 600 server.conf server/wg0.conf
# Nobody answers for names in such a network.
sed -i s/server.example/192.0.2.1/ laptop.conf
install -m 600 laptop.conf /etc/wireguard/wg0.conf
ip netns exec server wg-quick up ./server/wg0.conf

. ./example.sh

# The tunnel is the application's, the container that made it has gone, and so has what it ran.
inside ping -c 1 -W 20 10.201.0.1
test "$(docker ps --all --format '{{.Names}}')" = application
if ip link show wg0; then exit 1; fi
docker rm --force application
