"""What the cloud `provision.clouds.linode` is made of."""
