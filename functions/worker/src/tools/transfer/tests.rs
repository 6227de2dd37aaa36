mod databases;
mod files;
mod http;
mod servers;
